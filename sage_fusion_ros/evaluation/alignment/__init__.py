"""Finds how a thermal image lies in an RGB image, although the two look unlike."""
