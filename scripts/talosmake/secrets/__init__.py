"""What is encrypted, and what is secret?"""
