"""What networks learn from: pictures packed once, crops of people, and how they are varied."""
