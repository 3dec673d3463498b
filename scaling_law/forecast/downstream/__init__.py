"""From parameters and tokens to a metric of a task, by way of the loss and without it."""
