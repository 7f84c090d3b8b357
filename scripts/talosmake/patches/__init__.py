"""What does this patch text say? Reads text and applies nothing."""
