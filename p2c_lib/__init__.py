"""Compare, explain and put right what Dynamics 365 Sales and Finance & Operations disagree on."""
