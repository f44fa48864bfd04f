"""Monitoring: drift of what comes in, actuals, and realized beside expected performance."""
