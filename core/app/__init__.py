"""The studio: a local page and a REST interface for sampling, editing and watching runs (`sonolux studio`)."""
