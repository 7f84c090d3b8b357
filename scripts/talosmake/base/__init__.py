"""What any program needs: files, processes, waiting, messages. Knows nothing of Talos."""
