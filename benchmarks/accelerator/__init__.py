"""All that is to be measured on an accelerator, in one command; see `__main__`."""
