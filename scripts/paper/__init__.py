"""The systems of the O-INR paper, rebuilt from published facts and run again."""
