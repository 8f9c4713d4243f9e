import ByteIO
import Foundation
import Tensors
import TorchFormat

/// One input of libFuzzer. Its first byte says what the rest is: even, a whole file; odd, a pickle, put into an archive
/// whose checksums are right, as no mutation would find them. Whatever it is, reading ends with values or a `ParseFailure`.
///
///     LLAMA_FUZZ=1 swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz --product TorchFuzz
///     n=0; while read -r line; do xxd -r -p <<< $line > SEEDS/$((n++)); done < Tests/Fixtures/torch/corpus.txt
///     .build-fuzz/release/TorchFuzz -max_total_time=600 SEEDS
@_cdecl("LLVMFuzzerTestOneInput")
public func readTorchFile(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = [UInt8](UnsafeBufferPointer(start: start, count: count))
  guard let kind = input.first else { return 0 }
  let rest = Array(input.dropFirst())
  do {
    try read(kind % 2 == 0 ? rest : archive(rest))
  } catch is ParseFailure {
    return 0
  } catch {
    fatalError("neither values nor a ParseFailure: \(error)")
  }
  return 0
}

private let path =
  "\(FileManager.default.temporaryDirectory.path)/torch-fuzz-\(ProcessInfo.processInfo.processIdentifier)"

private func read(_ bytes: [UInt8]) throws {
  try Data(bytes).write(to: URL(filePath: path))
  defer { unlink(path) }
  let file = try TorchFile(path: path)
  for tensor in file.tensors.prefix(16) {
    // The end first, then the start: pieces come in any order.
    let width = tensor.elementType.bits / 8
    let elements = min(tensor.byteCount / width, 1000)
    var buffer = [UInt8](repeating: 0, count: elements * width)
    var span = buffer.mutableSpan
    try file.read(tensor.name, at: tensor.byteCount - elements * width, into: &span)
    try file.read(tensor.name, at: 0, into: &span)
  }
  try file.proveIntegrity()
}

/// An archive of this pickle and of two storages, `0` and `1`, of 64 bytes.
private func archive(_ pickle: [UInt8]) -> [UInt8] {
  let storage = (0..<64).map { UInt8($0) }
  let records = [("x/data.pkl", pickle), ("x/version", [0x33]), ("x/data/0", storage), ("x/data/1", storage)]
  var bytes: [UInt8] = []
  var directory: [UInt8] = []
  for (name, content) in records {
    var fields: [UInt8] = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0] + number(CRC32.checksum(content.span), 4)
    fields += number(UInt32(content.count), 4) + number(UInt32(content.count), 4)
    fields += number(UInt32(name.utf8.count), 2) + [0, 0]
    directory += [0x50, 0x4B, 1, 2, 0, 0] + fields + [UInt8](repeating: 0, count: 10)
    directory += number(UInt32(bytes.count), 4) + Array(name.utf8)
    bytes += [0x50, 0x4B, 3, 4] + fields + Array(name.utf8) + content
  }
  let end = number(UInt32(records.count), 2) + number(UInt32(directory.count), 4) + number(UInt32(bytes.count), 4)
  return bytes + directory + [0x50, 0x4B, 5, 6, 0, 0, 0, 0] + number(UInt32(records.count), 2) + end + [0, 0]
}

private func number(_ value: UInt32, _ count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}
