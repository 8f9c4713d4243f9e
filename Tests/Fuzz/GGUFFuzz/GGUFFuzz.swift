import ByteIO
import Foundation
import GGUFFormat
import Tensors

/// One input of libFuzzer: a whole file. Whatever it is, reading ends with a header or a `ParseFailure`; what can be read can
/// be written again, and is then read as the same.
///
///     LLAMA_FUZZ=1 swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz --product GGUFFuzz
///     n=0; while read -r line; do xxd -r -p <<< $line > SEEDS/$((n++)); done < Tests/Fixtures/gguf/corpus.txt
///     .build-fuzz/release/GGUFFuzz -max_total_time=600 SEEDS
@_cdecl("LLVMFuzzerTestOneInput")
public func readGGUF(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = [UInt8](UnsafeBufferPointer(start: start, count: count))
  do {
    let header = try GGUFHeader(parsing: input, fileByteCount: UInt64(count))
    _ = try GGUFTokens(header.metadata)
    try writeAgain(header)
  } catch is ParseFailure {
    return 0
  } catch {
    fatalError("neither a header nor a ParseFailure: \(error)")
  }
  return 0
}

private func writeAgain(_ header: GGUFHeader) throws {
  for entry in header.entries {
    let range = header.fileRange(of: entry)
    precondition(range.upperBound - range.lowerBound == UInt64(entry.info.byteCount), "a tensor has its size")
    precondition(header.entry(entry.info.name) == entry, "a tensor is found by its name")
  }
  let layout: GGUFLayout
  do {
    layout = try GGUFLayout(header.entries.map(\.info), metadata: header.metadata, alignment: header.alignment)
  } catch {
    fatalError("what was read cannot be written: \(error)")
  }
  let again = try GGUFHeader(parsing: layout.headerBytes, fileByteCount: layout.fileByteCount)
  precondition(again.entries == header.entries && again.metadata == header.metadata, "what was written is the same")
}
