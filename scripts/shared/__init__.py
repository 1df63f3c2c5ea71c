"""What several benches share: problems, phantoms, pictures, and how a page is written."""
