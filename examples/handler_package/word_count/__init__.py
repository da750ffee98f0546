"""Task types about words."""
