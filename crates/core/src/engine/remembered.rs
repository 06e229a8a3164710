//! Spectra as bytes, so that a later start need not search for them again: a SHA-256 of what they depend on, then all
//! numbers as f32, little-endian.

use sha2::{Digest as _, Sha256};

use crate::fast::svd::Spectrum;

/// Numbers of a spectrum besides its vectors and singular values.
const QUALITIES: usize = 3;

pub(super) fn write(key: &str, spectra: &[Spectrum]) -> Vec<u8> {
    let mut bytes = Sha256::digest(key).to_vec();
    for Spectrum { singular_values, vectors, orthonormality_error, residual, products } in spectra {
        let qualities = [*orthonormality_error, *residual, *products as f32];
        let numbers = singular_values.iter().chain(vectors).chain(&qualities);
        bytes.extend(numbers.flat_map(|number| number.to_le_bytes()));
    }
    bytes
}

/// The spectra of sites with so many `inputs`; `None` where the bytes are of something else, or damaged.
pub(super) fn read(bytes: &[u8], key: &str, rank: usize, inputs: &[usize]) -> Option<Vec<Spectrum>> {
    let numbers = bytes.strip_prefix(Sha256::digest(key).as_slice())?;
    let (numbers, rest) = numbers.as_chunks();
    let mut numbers = numbers.iter().map(|&number| f32::from_le_bytes(number));
    let mut take = |count: usize| {
        let taken: Vec<f32> = numbers.by_ref().take(count).collect();
        (taken.len() == count && taken.iter().all(|number| number.is_finite())).then_some(taken)
    };
    let mut spectra = Vec::with_capacity(inputs.len());
    for &inputs in inputs {
        let (singular_values, vectors, qualities) = (take(rank)?, take(rank * inputs)?, take(QUALITIES)?);
        let (orthonormality_error, residual, products) = (qualities[0], qualities[1], qualities[2] as usize);
        spectra.push(Spectrum { singular_values, vectors, orthonormality_error, residual, products });
    }
    (rest.is_empty() && numbers.next().is_none()).then_some(spectra)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spectra() -> Vec<Spectrum> {
        [3usize, 5]
            .map(|inputs| Spectrum {
                singular_values: vec![2.5, 1.0 / 3.0],
                vectors: (0..2 * inputs).map(|i| (i as f32).sin()).collect(),
                orthonormality_error: 1e-7,
                residual: 3e-6,
                products: 12,
            })
            .to_vec()
    }

    #[test]
    fn what_was_written_is_read_to_the_bit() {
        assert_eq!(read(&write("key", &spectra()), "key", 2, &[3, 5]), Some(spectra()));
    }

    #[test]
    fn what_belongs_to_something_else_or_is_damaged_is_not_taken() {
        let bytes = write("key", &spectra());
        assert_eq!(read(&bytes, "another", 2, &[3, 5]), None);
        assert_eq!(read(&bytes, "key", 2, &[3, 4]), None);
        assert_eq!(read(&bytes, "key", 1, &[3, 5]), None);
        for end in [0, 10, 32, bytes.len() - 4, bytes.len() - 1] {
            assert_eq!(read(&bytes[..end], "key", 2, &[3, 5]), None, "{end} bytes");
        }
        let mut no_number = bytes;
        no_number[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(read(&no_number, "key", 2, &[3, 5]), None);
    }
}
