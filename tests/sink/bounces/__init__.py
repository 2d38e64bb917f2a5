"""Mail that was taken and comes back."""
