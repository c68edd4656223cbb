//! WebSocket frame boundaries (RFC 6455 section 5.2), so that a close frame can be inserted between
//! two frames. Only frame headers are parsed, incrementally and with constant memory; payloads are
//! skipped. PURE.

/// The opcode of a close frame, and the first one of control frames. Frames of messages have lower
/// ones.
const CLOSE: u8 = 8;

/// Maximum length of a close reason: a control frame's payload (section 5.5) without the two bytes
/// of the status code.
const MAX_REASON_LEN: usize = 123;

/// Tracks frame boundaries in one direction of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameTracker {
    position: Position,
    /// Whether the current frame is a close frame.
    is_close_frame: bool,
    close_seen: bool,
    /// Whether the current frame is part of a message, and no control frame.
    is_message: bool,
    message_seen: bool,
}

/// The meaning of the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// The first byte of a frame.
    #[default]
    Boundary,
    /// The byte with the mask flag and the short length.
    ShortLength,
    /// One of the `left` last bytes of an extended length.
    Length { left: u8, so_far: u64, mask: u64 },
    /// One of the remaining bytes of the frame: masking key and payload.
    Rest(u64),
}

impl FrameTracker {
    /// Whether all frames so far are complete.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.position == Position::Boundary
    }

    /// Whether a complete close frame was tracker. No frame follows it (section 5.5.1).
    pub(super) const fn close_seen(&self) -> bool {
        self.close_seen
    }

    /// Whether there was any part of a message since the last call. Clients answer pings without
    /// their user.
    pub(super) const fn take_message_seen(&mut self) -> bool {
        std::mem::replace(&mut self.message_seen, false)
    }

    /// Processes the next bytes.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let consumed = self.step(bytes);
            bytes = bytes.get(consumed..).unwrap_or_default();
        }
    }

    /// The number of bytes that belong to the current frame; zero at a boundary.
    pub(super) fn remaining_in(&self, bytes: &[u8]) -> usize {
        let mut ahead = *self;
        let mut count = 0;
        while !ahead.is_at_boundary() && count < bytes.len() {
            count += ahead.step(bytes.get(count..).unwrap_or_default());
        }
        count
    }

    /// Processes at least one byte, and at most the current part of the frame. Returns the number
    /// of bytes processed.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        let mut consumed = 1;
        self.position = match self.position {
            Position::Boundary => {
                self.is_close_frame = byte & 0x0f == CLOSE;
                self.is_message = byte & 0x0f < CLOSE;
                Position::ShortLength
            }
            Position::ShortLength => {
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                match byte & 0x7f {
                    126 => Position::Length {
                        left: 2,
                        so_far: 0,
                        mask,
                    },
                    127 => Position::Length {
                        left: 8,
                        so_far: 0,
                        mask,
                    },
                    short => Position::Rest(u64::from(short) + mask),
                }
            }
            Position::Length { left, so_far, mask } => {
                let so_far = so_far << 8 | u64::from(byte);
                if left > 1 {
                    Position::Length {
                        left: left - 1,
                        so_far,
                        mask,
                    }
                } else {
                    Position::Rest(so_far.saturating_add(mask))
                }
            }
            Position::Rest(left) => {
                consumed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                Position::Rest(left.saturating_sub(consumed as u64))
            }
        };
        self.message_seen |= self.is_message;
        if self.position == Position::Rest(0) {
            self.position = Position::Boundary;
            self.close_seen |= self.is_close_frame;
        }
        consumed
    }
}

/// Builds a close frame with a status code (section 7.4) and a reason. A client masks its frames
/// with an unpredictable key; a server does not (section 5.1).
pub(super) fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().filter(u8::is_ascii).take(MAX_REASON_LEN));
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

    /// A frame of this opcode. With `long_form` its length is not in the shortest encoding.
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
        // A payload of bytes that look like frame headers.
        bytes.extend(std::iter::repeat_n(
            0x88,
            length + if masked { 4 } else { 0 },
        ));
        bytes
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
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
        fn advance_finds_boundaries_for_any_fragmentation(
            frames in vec(any_frame(), 1..6),
            cuts in vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let bytes = frames.concat();
            let ends: Vec<usize> = frames.iter().scan(0, |at, frame| { *at += frame.len(); Some(*at) }).collect();
            let is_close = |frame: &Vec<u8>| frame[0] & 0x0f == CLOSE;
            let first_close = frames.iter().position(is_close).map(|at| ends[at]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut tracker = FrameTracker::default();
            let mut at = 0;
            for cut in cuts {
                tracker.advance(&bytes[at..cut]);
                at = cut;
                prop_assert_eq!(tracker.is_at_boundary(), at == 0 || ends.contains(&at), "at {}", at);
                prop_assert_eq!(tracker.close_seen(), first_close.is_some_and(|close| at >= close), "at {}", at);
                let next = if at == 0 { 0 } else { *ends.iter().find(|end| **end >= at).unwrap() };
                prop_assert_eq!(tracker.remaining_in(&bytes[at..]), next.max(at) - at, "at {}", at);
            }
        }

        #[test]
        fn advance_is_independent_of_fragmentation(
            bytes in vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let mut whole = FrameTracker::default();
            let mut parts = FrameTracker::default();
            whole.advance(&bytes);
            parts.advance(&bytes[..cut]);
            prop_assert!(parts.remaining_in(&bytes[cut..]) <= bytes.len() - cut);
            parts.advance(&bytes[cut..]);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn close_frame_is_one_complete_close_frame(code in 1000..5000_u16, reason in ".{0,200}", mask in any::<Option<[u8; 4]>>()) {
            let bytes = close_frame(code, &reason, mask);
            prop_assert!(bytes.len() <= 2 + 4 + 125);
            let mut tracker = FrameTracker::default();
            tracker.advance(&bytes[..bytes.len() - 1]);
            prop_assert!(!tracker.is_at_boundary() && !tracker.close_seen());
            tracker.advance(&bytes[bytes.len() - 1..]);
            prop_assert!(tracker.is_at_boundary() && tracker.close_seen());
        }
    }

    #[test]
    fn only_frames_of_messages_are_messages() {
        let mut tracker = FrameTracker::default();
        for (opcode, is_message) in [
            (9, false),
            (10, false),
            (CLOSE, false),
            (1, true),
            (0, true),
        ] {
            let frame = frame(opcode, true, 3, true, false);
            tracker.advance(&frame[..4]);
            assert_eq!(tracker.take_message_seen(), is_message, "{opcode}");
            tracker.advance(&frame[4..]);
            assert_eq!(tracker.take_message_seen(), is_message, "{opcode}");
            assert!(!tracker.take_message_seen());
        }
    }

    #[test]
    fn advance_accepts_the_maximum_length() {
        let mut tracker = FrameTracker::default();
        tracker.advance(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(tracker.remaining_in(&[0; 1000]), 1000);
        tracker.advance(&[0; 1000]);
        assert!(!tracker.is_at_boundary());
    }

    #[test]
    fn close_frame_matches_the_specification() {
        assert_eq!(
            close_frame(1008, "go", None),
            [0x88, 4, 0x03, 0xf0, b'g', b'o']
        );
        let masked = close_frame(1001, "", Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
    }
}
