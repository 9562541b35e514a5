"""A street that exists only in numbers, seen by an RGB and a thermal camera.

World axes in metres: x to the right, y up from the road, z forward from the camera.
"""
