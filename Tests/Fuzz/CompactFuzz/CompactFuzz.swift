import ByteIO
import Foundation
import GGUFFormat
import Tensors

/// One input of libFuzzer: a whole compact file. Whatever it is, opening it and reading all tensors ends with bytes or a
/// `ParseFailure`.
///
///     LLAMA_FUZZ=1 swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz --product CompactFuzz
///     sed -n '/^```vectors/,/^```$/p' formats/compact.md | grep -E '^(accepts|refuses)' | tr -s ' ' | cut -d' ' -f2 |
///       while read -r line; do xxd -r -p <<< $line > SEEDS/$((n++)); done
///     .build-fuzz/release/CompactFuzz -max_total_time=600 SEEDS
@_cdecl("LLVMFuzzerTestOneInput")
public func readCompact(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let path = "/dev/shm/compact-fuzz-\(getpid())"
  let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
  guard descriptor >= 0, write(descriptor, start, count) == count else { fatalError("no file for the input") }
  close(descriptor)
  do {
    let file = try CompactFile(path: path)
    for tensor in file.tensors + file.files.map(\.tensor) {
      // What an input of this size can hold; more is only claimed.
      guard tensor.byteCount <= 1 << 24 else { continue }
      let bytes = try file.bytes(of: tensor.name)
      precondition(bytes.count == tensor.byteCount, "a tensor has its size")
    }
  } catch is ParseFailure {
    return 0
  } catch {
    fatalError("neither bytes nor a ParseFailure: \(error)")
  }
  return 0
}
