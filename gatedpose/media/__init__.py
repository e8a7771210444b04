"""Pixels in and out: pictures, video, drawings."""
