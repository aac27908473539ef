"""The fold: tracks and fences in, visits and violations out; pure, resumable, order-free."""
