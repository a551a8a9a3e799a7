"""What a person and Compose run in the gateway's image beside the gateway itself."""
