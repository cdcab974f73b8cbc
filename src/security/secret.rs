//! Random bytes that nobody can guess: the hash seed, run ids, ACL GENPASS.

use std::io::Read as _;

/// Bytes that nobody can guess, from the kernel's generator. What of them is published says nothing of the others.
pub fn secret<const BYTES: usize>() -> Result<[u8; BYTES], String> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut secret = [0; BYTES];
    let mut filled = 0;
    while filled < BYTES {
        match getrandom(&mut secret[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // A sandbox may forbid the call and leave the device.
            Err(_) => {
                let device = std::fs::File::open("/dev/urandom");
                return device
                    .and_then(|mut device| device.read_exact(&mut secret))
                    .map(|()| secret)
                    .map_err(|error| format!("The kernel gives no random numbers: {error}"));
            }
        }
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_whole_and_differ() {
        let secrets: Vec<[u8; 32]> = (0..64).map(|_| secret().expect("the kernel has a generator")).collect();
        // Each byte is drawn: none is the same in all of them.
        assert!((0..32).all(|at| secrets.iter().any(|one| one[at] != secrets[0][at])));
        assert!(secret::<0>().is_ok());
    }
}
