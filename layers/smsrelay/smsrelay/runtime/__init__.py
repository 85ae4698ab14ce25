"""Code around the handlers of the Lambda functions."""
