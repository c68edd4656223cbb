//! Where one WebSocket frame ends and the next begins (RFC 6455 section 5.2), so that a close frame of our own can
//! stand between two of them. Only headers are read, however the bytes are cut into pieces, and what is kept is two
//! numbers and two flags; payloads are nobody's business here. PURE.

/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// The longest payload of a control frame (section 5.5), less the two bytes of the code.
const MAX_REASON: usize = 123;

/// How far one direction of a WebSocket has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    at: At,
    /// Whether the frame under way is a close frame.
    closes: bool,
    closed: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The first of a frame.
    #[default]
    Boundary,
    /// The one with the mask's flag and the short length.
    ShortLength,
    /// One of the `left` last bytes of a long length.
    Length { left: u8, so_far: u64, mask: u64 },
    /// One of so many until the frame ends: the mask and the payload.
    Rest(u64),
}

impl Frames {
    /// Whether all frames so far are whole.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.at == At::Boundary
    }

    /// Whether a whole close frame went by: its sender says nothing after it (section 5.5.1).
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes in the next bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// How many of the next bytes belong to the frame under way: none at a boundary.
    pub(super) fn rest_in(&self, bytes: &[u8]) -> usize {
        let (mut ahead, mut count) = (*self, 0);
        while !ahead.is_at_boundary() && count < bytes.len() {
            count += ahead.step(bytes.get(count..).unwrap_or_default());
        }
        count
    }

    /// Takes in at least one byte, and as many as the same part of the frame has; says how many those were.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        let mut taken = 1;
        self.at = match self.at {
            At::Boundary => {
                self.closes = byte & 0x0f == CLOSE;
                At::ShortLength
            }
            At::ShortLength => {
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                match byte & 0x7f {
                    126 => At::Length {
                        left: 2,
                        so_far: 0,
                        mask,
                    },
                    127 => At::Length {
                        left: 8,
                        so_far: 0,
                        mask,
                    },
                    short => At::Rest(u64::from(short) + mask),
                }
            }
            At::Length { left, so_far, mask } => {
                let so_far = so_far << 8 | u64::from(byte);
                if left > 1 {
                    At::Length {
                        left: left - 1,
                        so_far,
                        mask,
                    }
                } else {
                    At::Rest(so_far.saturating_add(mask))
                }
            }
            At::Rest(left) => {
                taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                At::Rest(left.saturating_sub(taken as u64))
            }
        };
        if self.at == At::Rest(0) {
            self.at = At::Boundary;
            self.closed |= self.closes;
        }
        taken
    }
}

/// A close frame with a status code (section 7.4) and a reason in plain words. A client masks what it sends, with a key
/// that cannot be foreseen; a server never does (section 5.1).
pub(super) fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().filter(u8::is_ascii).take(MAX_REASON));
    let length = u8::try_from(payload.len()).unwrap_or_default();
    let mut frame = vec![
        0x80 | CLOSE,
        if mask.is_some() {
            0x80 | length
        } else {
            length
        },
    ];
    frame.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame of this opcode; the length is written in the shortest form, or in a longer one.
    fn frame(opcode: u8, fin: bool, length: usize, masked: bool, long_form: bool) -> Vec<u8> {
        let flag = if masked { 0x80 } else { 0 };
        let mut bytes = vec![if fin { 0x80 } else { 0 } | opcode];
        match length {
            0..126 if !long_form => bytes.push(flag | u8::try_from(length).unwrap()),
            0..65_536 => {
                bytes.push(flag | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(flag | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        // Payloads full of what looks like headers.
        bytes.extend(std::iter::repeat_n(
            0x88,
            length + if masked { 4 } else { 0 },
        ));
        bytes
    }

    fn some_frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![
            0..200_usize,
            Just(125),
            Just(126),
            Just(127),
            65_530..65_540_usize
        ];
        let opcode = prop::sample::select(vec![0, 1, 2, CLOSE, 9, 10]);
        (opcode, any::<bool>(), length, any::<bool>(), any::<bool>()).prop_map(
            |(opcode, fin, length, masked, long_form)| {
                frame(opcode, fin, length, masked, long_form)
            },
        )
    }

    proptest! {
        #[test]
        fn boundaries_are_where_frames_end_however_they_are_cut(
            frames in vec(some_frame(), 1..6),
            cuts in vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let bytes = frames.concat();
            let ends: Vec<usize> = frames.iter().scan(0, |at, frame| { *at += frame.len(); Some(*at) }).collect();
            let is_close = |frame: &Vec<u8>| frame[0] & 0x0f == CLOSE;
            let first_close = frames.iter().position(is_close).map(|at| ends[at]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let (mut seen, mut at) = (Frames::default(), 0);
            for cut in cuts {
                seen.pass(&bytes[at..cut]);
                at = cut;
                prop_assert_eq!(seen.is_at_boundary(), at == 0 || ends.contains(&at), "at {}", at);
                prop_assert_eq!(seen.is_closed(), first_close.is_some_and(|close| at >= close), "at {}", at);
                let next = if at == 0 { 0 } else { *ends.iter().find(|end| **end >= at).unwrap() };
                prop_assert_eq!(seen.rest_in(&bytes[at..]), next.max(at) - at, "at {}", at);
            }
        }

        #[test]
        fn any_bytes_are_counted_and_the_cut_makes_no_difference(
            bytes in vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let (mut whole, mut parts) = (Frames::default(), Frames::default());
            whole.pass(&bytes);
            parts.pass(&bytes[..cut]);
            prop_assert!(parts.rest_in(&bytes[cut..]) <= bytes.len() - cut);
            parts.pass(&bytes[cut..]);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn our_own_close_frames_are_whole_close_frames(code in 1000..5000_u16, reason in ".{0,200}", mask in any::<Option<[u8; 4]>>()) {
            let bytes = close_frame(code, &reason, mask);
            prop_assert!(bytes.len() <= 2 + 4 + 125);
            let mut seen = Frames::default();
            seen.pass(&bytes[..bytes.len() - 1]);
            prop_assert!(!seen.is_at_boundary() && !seen.is_closed());
            seen.pass(&bytes[bytes.len() - 1..]);
            prop_assert!(seen.is_at_boundary() && seen.is_closed());
        }
    }

    #[test]
    fn a_length_of_which_nothing_can_come_true_is_waited_for_without_end() {
        let mut seen = Frames::default();
        seen.pass(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(seen.rest_in(&[0; 1000]), 1000);
        seen.pass(&[0; 1000]);
        assert!(!seen.is_at_boundary());
    }

    #[test]
    fn a_close_frame_reads_as_the_standard_has_it() {
        assert_eq!(
            close_frame(1008, "go", None),
            [0x88, 4, 0x03, 0xf0, b'g', b'o']
        );
        let masked = close_frame(1001, "", Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
    }
}
