"""Looking inside any checkpoint or model folder, through the model's one `forward`."""
