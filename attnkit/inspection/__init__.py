"""A look inside a trained model: attention maps, measures of maps, pictures, and the report page."""
