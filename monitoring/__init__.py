"""How models and machines are watched: prediction log, outcomes, drift, triggers, retraining."""
