"""What engines measured here, kept for the next plan: `.infctl/calibration.json`."""
