"""The autoscaling policy: which slots have how many replicas, who gives way to whom, who waits for what. Pure."""
