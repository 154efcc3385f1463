"""What answers while people work: the scoring service. It imports tasks and never flows; neither imports it."""
