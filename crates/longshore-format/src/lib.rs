//! What the bytes of a longshore log mean: positions, epochs, record frames, segments, checksums.
