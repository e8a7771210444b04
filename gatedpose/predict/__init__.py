"""From a picture and boxes to poses: prediction, detection, tracking."""
