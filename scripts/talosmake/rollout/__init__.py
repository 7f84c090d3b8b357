"""What changes running nodes."""
