"""What Snakemake is told, and shown. The only package that imports it."""
