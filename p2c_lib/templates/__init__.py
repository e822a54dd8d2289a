"""Templates of Prospect to cash, one YAML file each."""
