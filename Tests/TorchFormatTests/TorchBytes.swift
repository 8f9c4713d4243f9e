import ByteIO
import Foundation
import Support
import Tensors
import Testing
import TorchFormat

/// Files of torch.save made by hand.
enum TorchBytes {
  /// An archive of the given pickle and storages; all names in the folder `x`.
  static func archive(_ pickle: [UInt8], _ storages: [String: [UInt8]] = ["0": sixteen]) -> ZipBytes {
    var records = [ZipBytes.Record("x/data.pkl", pickle), ZipBytes.Record("x/byteorder", Array("little".utf8))]
    for key in storages.keys.sorted() { records.append(ZipBytes.Record("x/data/\(key)", storages[key] ?? [])) }
    return ZipBytes(records: records + [ZipBytes.Record("x/version", Array("3\n".utf8))])
  }

  /// `{"a": tensor}`: 16 bytes, F32 [4].
  static let plain = archive(PickleAssembler(#"EMPTY_DICT "a" $tensor SETITEM"#).bytes)
  static let sixteen = (0..<16).map { UInt8($0) }

  /// A file of the format before torch 1.6.
  static func legacy(
    _ pickle: [UInt8], keys: String = #"EMPTY_LIST "0" APPEND"#, facts: String? = nil, version: String = "1001",
    storages: [(count: Int64, bytes: [UInt8])] = [(4, sixteen)]
  ) -> [UInt8] {
    let facts =
      facts ?? #"EMPTY_DICT MARK "protocol_version" 1001 "little_endian" NEWTRUE "type_sizes" EMPTY_DICT SETITEMS"#
    let magic: [UInt8] = [0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E]
    let front = magic + PickleAssembler(version).bytes + PickleAssembler(facts).bytes + pickle
    return storages.reduce(front + PickleAssembler(keys).bytes) { $0 + littleEndian($1.count) + $1.bytes }
  }
}

/// A file of these bytes, opened; it is gone from the disk at once.
func opened(_ bytes: [UInt8]) throws -> TorchFile {
  let file = FileManager.default.temporaryDirectory.appending(path: "llama-tests-\(UUID().uuidString).pth")
  try Data(bytes).write(to: file)
  defer { try? FileManager.default.removeItem(at: file) }
  return try TorchFile(path: file.path)
}

/// What is in a file, every byte of it read and checked.
struct TorchContents: Equatable {
  struct Tensor: Equatable {
    let info: TensorInfo
    let bytes: [UInt8]
  }
  let tensors: [Tensor]
  let others: [String]

  init(_ file: TorchFile) throws {
    tensors = try file.tensors.map { Tensor(info: $0, bytes: try file.bytes(of: $0.name)) }
    others = file.others
    try file.proveIntegrity()
  }

  init(_ bytes: [UInt8]) throws { try self.init(opened(bytes)) }
}

/// Part of a tensor.
func part(_ file: TorchFile, _ name: String, _ range: Range<Int>) throws -> [UInt8] {
  var buffer = [UInt8](repeating: 0xAA, count: range.count)
  var span = buffer.mutableSpan
  try file.read(name, at: range.lowerBound, into: &span)
  return buffer
}

/// Where a reader must see the fault.
struct Fault: Sendable {
  var item: String?
  var offset: UInt64?
  /// Part of the message.
  let says: String

  /// Reads all of a file and expects the fault.
  func check(in bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
    let failure = #expect(throws: ParseFailure.self, sourceLocation: sourceLocation) { try TorchContents(bytes) }
    guard let failure else { return }
    #expect(failure.message.contains(says), "\(failure)", sourceLocation: sourceLocation)
    #expect(failure.item == item, "\(failure)", sourceLocation: sourceLocation)
    #expect(failure.offset == offset, "\(failure)", sourceLocation: sourceLocation)
    #expect(failure.file != nil, sourceLocation: sourceLocation)
  }
}
