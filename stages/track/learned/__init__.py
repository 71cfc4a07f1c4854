"""Features and matchers by networks, an adapter each; imported when a setting asks for them."""
