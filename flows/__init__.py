"""What Keel runs and when: one module for each reason to run anything."""
