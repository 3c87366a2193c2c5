"""The drift alarms on real traffic, with its days, weeks and weather: flights, and car loans."""
