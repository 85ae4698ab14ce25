"""What every Lambda function does around its handler."""
