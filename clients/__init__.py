"""What happens inside one site, and the exact form of what leaves it."""
