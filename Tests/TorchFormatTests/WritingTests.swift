import ByteIO
import Foundation
import Support
import Tensors
import Testing
import TorchFormat

/// Files whose tensors are contiguous, in storages of their own but for aliases: those that our writer can make too.
struct WriterCase: Sendable, CustomTestStringConvertible {
  let name: String
  var aliases: [String: String] = [:]
  var testDescription: String { name }

  static let all = [
    WriterCase(name: "types.pth"), WriterCase(name: "single.pth"), WriterCase(name: "none.pth"),
    WriterCase(name: "fp8.pth"),
  ]
}

@Suite("Writing files of torch.save")
struct WritingTests {
  private func write(
    _ source: TorchFile, _ layout: TorchLayout, into folder: TemporaryFolder, pieces: Int
  ) throws -> [UInt8] {
    let writer = try TorchWriter(creating: layout, in: folder.url.path)
    for info in layout.tensors {
      let bytes = try source.bytes(of: info.name)
      let step = max(1, (bytes.count + pieces - 1) / pieces)
      // Last piece first: parts may come in any order.
      for start in stride(from: 0, to: bytes.count, by: step).reversed() {
        let end = min(start + step, bytes.count)
        try writer.write(info.name, at: start, bytes.span.extracting(start..<end))
      }
    }
    try writer.finish()
    return try Fixtures.bytes(folder.file(layout.fileName))
  }

  @Test("Three writers share a file, the last completes it from the notes of all: the bytes are one writer's")
  func shared() throws {
    let source = try TorchFile(path: Fixtures.bundled("torch/types.pth").path)
    let layout = try TorchLayout(fileName: "types.pth", tensors: source.tensors)
    let expected = try write(source, layout, into: try TemporaryFolder(), pieces: 3)
    let folder = try TemporaryFolder()
    var notes: [WriteNote] = []
    for part in 0..<3 {
      let writer = try TorchWriter(sharing: layout, in: folder.url.path, writesFixedParts: part == 1)
      for (number, info) in layout.tensors.enumerated() where number % 3 == part {
        let bytes = try source.bytes(of: info.name)
        try writer.write(info.name, at: 0, bytes.span)
      }
      notes += writer.takeNotes()
      #expect(writer.takeNotes().isEmpty)
    }
    let last = try TorchWriter(sharing: layout, in: folder.url.path, writesFixedParts: false)
    try last.restore(Array(notes.dropLast()))
    #expect(throws: ParseFailure.self, "a part is missing") { try last.complete() }
    try last.restore(notes.reversed())
    try last.finish()
    #expect(try Fixtures.bytes(folder.file("types.pth")) == expected)
    let foreign = WriteNote(item: 4, offset: 1 << 40, byteCount: 1, checksum: 0)
    #expect(throws: ParseFailure.self) { try last.restore([foreign]) }
  }

  /// Origin: torch.save of torch 2.13. Only the serialization id differs, whose digits hash names in an unordered set; with
  /// it the CRC of its record.
  @Test("The bytes are torch's own, the serialization id aside", arguments: WriterCase.all, [1, 3])
  func equalsTorch(_ file: WriterCase, _ pieces: Int) throws {
    let path = Fixtures.bundled("torch/\(file.name)")
    let source = try TorchFile(path: path.path)
    let layout = try TorchLayout(fileName: file.name, tensors: source.tensors)
    let folder = try TemporaryFolder()
    var written = try write(source, layout, into: folder, pieces: pieces)
    var expected = try Fixtures.bytes(path)
    #expect(UInt64(written.count) == layout.fileByteCount)
    blankSerializationID(&written)
    blankSerializationID(&expected)
    #expect(written == expected)
    _ = try TorchFile(path: folder.file(file.name).path).proveIntegrity()
  }

  /// The 40 digits, the CRC in their data descriptor and in their central header.
  private func blankSerializationID(_ bytes: inout [UInt8]) {
    let name = Array(".data/serialization_id".utf8)
    let places = bytes.indices.dropLast(name.count).filter { bytes[$0..<$0 + name.count].elementsEqual(name) }
    guard places.count == 2 else { return }
    let prefix = places[0] - (bytes[..<places[0]].lastIndex(of: UInt8(ascii: "P")) ?? places[0])
    // Local header: name, extra field with padding, digits, descriptor.
    let nameEnd = places[0] + name.count
    let padding = Int(bytes[nameEnd + 2]) | Int(bytes[nameEnd + 3]) << 8
    let digits = nameEnd + 4 + padding
    for index in digits..<digits + 40 { bytes[index] = 0 }
    for index in digits + 44..<digits + 48 { bytes[index] = 0 }
    // Central header: the CRC stands 16 bytes behind its signature, the name 46.
    let central = places[1] - (prefix - 30) - 46
    for index in central + 16..<central + 20 { bytes[index] = 0 }
  }

  @Test func sharesStorages() throws {
    let folder = try TemporaryFolder()
    let a = try TensorInfo(name: "a", elementType: .f32, shape: [2, 2])
    let b = try TensorInfo(name: "b", elementType: .f32, shape: [2, 2])
    let layout = try TorchLayout(fileName: "x.pth", tensors: [a, b], aliases: ["b": "a"])
    let writer = try TorchWriter(creating: layout, in: folder.url.path)
    let bytes = (0..<16).map { UInt8($0) }
    try writer.write("a", at: 0, bytes.span)
    try writer.finish()
    let file = try TorchFile(path: folder.file("x.pth").path)
    #expect(try file.bytes(of: "a") == bytes)
    #expect(try file.bytes(of: "b") == bytes)
    #expect(file.byteCount < (try TorchLayout(fileName: "x.pth", tensors: [a, b])).fileByteCount)
  }

  @Test func refusesWhatTorchCannotHold() throws {
    let four = try TensorInfo(name: "a", elementType: .f4, shape: [2, 2])
    #expect(throws: ParseFailure.self) { try TorchLayout(fileName: "x.pth", tensors: [four]) }
    let one = try TensorInfo(name: "a", elementType: .f32, shape: [2])
    #expect(throws: ParseFailure.self) { try TorchLayout(fileName: "x.pth", tensors: [one, one]) }
    let two = try TensorInfo(name: "b", elementType: .f16, shape: [2])
    #expect(throws: ParseFailure.self) {
      try TorchLayout(fileName: "x.pth", tensors: [one, two], aliases: ["b": "a"])
    }
    #expect(throws: ParseFailure.self) { try TorchLayout(fileName: "x.pth", tensors: [two], aliases: ["b": "a"]) }
  }
}
