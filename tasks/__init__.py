"""How Keel does things: verb modules hold Prefect tasks, noun modules hold plain functions and frozen records."""
