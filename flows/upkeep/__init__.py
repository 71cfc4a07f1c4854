"""What keeps a store healthy: cleaning, keeping twins as long as they shall be kept, back-ups."""
