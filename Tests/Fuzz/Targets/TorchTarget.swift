import ByteIO
import Tensors
import TorchFormat

enum TorchTarget {
  static func run(_ input: [UInt8]) throws {
    guard let kind = input.first else { return }
    let rest = Array(input.dropFirst())
    try withFolder { folder in
      let path = folder + "/x.pth"
      try write(kind % 2 == 0 ? rest : archive(rest), to: path)
      _ = try reading { try read(path) }
    }
  }

  private static func read(_ path: String) throws {
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

  /// An archive of this pickle and of two storages, `0` and `1`, of 64 bytes. No mutation would find its checksums.
  static func archive(_ pickle: [UInt8]) -> [UInt8] {
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

  private static func number(_ value: UInt32, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }
}
