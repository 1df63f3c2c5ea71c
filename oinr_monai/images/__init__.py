"""Images: files and arrays in, files and measures out."""
