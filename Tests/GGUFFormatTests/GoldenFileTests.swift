import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

/// Files that `gguf`'s own writer made (`Tests/Interop/gguf_vectors.py`), and what was given to it.
struct GoldenGGUF: Sendable, CustomTestStringConvertible {
  let name: String
  /// More than one for a split set.
  let files: [String]
  let metadata: GGUFMetadata
  let tensors: [TensorInfo]
  /// SHA-256 of each tensor's bytes.
  let digests: [String]
  let limits: GGUFSplitPlan.Limits
  let alignment: Int

  var testDescription: String { name }

  static let folder = Fixtures.bundled("gguf")

  static let all: [GoldenGGUF] = {
    guard let data = try? Data(contentsOf: folder.appending(path: "expected.json")),
      let files = try? JSONSerialization.jsonObject(with: data) as? [String: [String: Any]]
    else { return [] }
    return files.sorted { $0.key < $1.key }.compactMap { try? GoldenGGUF($0.key, $0.value) }
  }()

  private init(_ name: String, _ fields: [String: Any]) throws {
    self.name = name
    files = try #require(fields["files"] as? [String])
    alignment = try #require(fields["alignment"] as? Int)
    var metadata = GGUFMetadata()
    for entry in try #require(fields["metadata"] as? [[Any]]) {
      let (key, type) = (try #require(entry[0] as? String), try #require(entry[1] as? String))
      let value = try (entry[2] as? [String]).map { try Self.array(type, $0) } ?? Self.scalar(type, entry[2] as? String)
      metadata.set(key, to: value)
    }
    self.metadata = metadata
    let rows = try #require(fields["tensors"] as? [[Any]])
    tensors = try rows.map { row in
      let type = try #require(GGMLType.allTypes.first { $0.rawValue == (row[1] as? String) })
      let extents = try #require(row[2] as? [Int])
      return try TensorInfo(name: try #require(row[0] as? String), elementType: type, shape: Shape(extents))
    }
    digests = try rows.map { try #require($0[3] as? String) }
    let options = fields["options"] as? [String: Any] ?? [:]
    limits = GGUFSplitPlan.Limits(
      size: (options["split_max_size"] as? Int).map { ByteSize(UInt64($0)) },
      tensorCount: options["split_max_tensors"] as? Int,
      firstPieceIsMetadata: options["small_first_shard"] as? Bool ?? false)
  }

  private static func scalar(_ type: String, _ text: String?) throws -> GGUFValue {
    let text = try #require(text)
    if type == "STRING" { return GGUFValue(text) }
    guard case .array(let array) = try array(type, [text]) else { throw CocoaError(.coderInvalidValue) }
    return switch array.elementType {
    case .uint8: .uint8(try value(array))
    case .int8: .int8(try value(array))
    case .uint16: .uint16(try value(array))
    case .int16: .int16(try value(array))
    case .uint32: .uint32(try value(array))
    case .int32: .int32(try value(array))
    case .float32: .float32(try value(array))
    case .bool: .bool(try value(array))
    case .uint64: .uint64(try value(array))
    case .int64: .int64(try value(array))
    case .float64: .float64(try value(array))
    case .string, .array: throw CocoaError(.coderInvalidValue)
    }
  }

  private static func value<T: GGUFScalar>(_ array: GGUFArray) throws -> T {
    let values = try #require(array.values(as: T.self))
    return try #require(values.first)
  }

  private static func array(_ type: String, _ texts: [String]) throws -> GGUFValue {
    func integers<T: FixedWidthInteger & GGUFScalar>(_ type: T.Type) throws -> GGUFValue {
      .array(GGUFArray(try texts.map { try #require(T($0)) }))
    }
    switch type {
    case "UINT8": return try integers(UInt8.self)
    case "INT8": return try integers(Int8.self)
    case "UINT16": return try integers(UInt16.self)
    case "INT16": return try integers(Int16.self)
    case "UINT32": return try integers(UInt32.self)
    case "INT32": return try integers(Int32.self)
    case "UINT64": return try integers(UInt64.self)
    case "INT64": return try integers(Int64.self)
    case "BOOL": return .array(GGUFArray(texts.map { $0 == "1" }))
    case "FLOAT32": return .array(GGUFArray(try texts.map { Float(bitPattern: try #require(UInt32($0))) }))
    case "FLOAT64": return .array(GGUFArray(try texts.map { Double(bitPattern: try #require(UInt64($0))) }))
    case "STRING": return .array(GGUFArray(texts))
    default: throw CocoaError(.coderInvalidValue)
    }
  }

  /// What the script gave to the writer as the bytes of tensor `number`.
  func content(_ number: Int) -> [UInt8] {
    (0..<tensors[number].byteCount).map { UInt8((7 * $0 + 13 * number) % 251) }
  }

  func path(_ file: String) -> String { Self.folder.appending(path: file).path }
}

@Suite("Files of the reference writer")
struct GoldenFileTests {
  @Test func allAreThere() throws {
    #expect(GoldenGGUF.all.count == 13)
    #expect(GoldenGGUF.all.flatMap(\.files).count == 25)
    let types = try #require(GoldenGGUF.all.first { $0.name == "types" })
    // All but two that the writer does not have, or has in another size.
    let missing: Set<ElementType> = [.block(.q8_1), .block(.q2_0)]
    #expect(Set(types.tensors.map(\.elementType)).union(missing) == Set(GGMLType.allTypes))
    #expect(types.tensors.count + 2 == GGMLType.allTypes.count)
    #expect(GGMLType.allTypes.count == BlockType.allCases.count + 8)
  }

  @Test(arguments: GoldenGGUF.all)
  func areReadAsTheyWereMeant(_ golden: GoldenGGUF) throws {
    let source = try GGUFSplitSet(path: golden.path(try #require(golden.files.first)))
    #expect(source.pieces.count == golden.files.count)
    #expect(source.metadata == golden.metadata)
    #expect(source.tensors == golden.tensors)
    for (tensor, digest) in zip(golden.tensors, golden.digests) {
      #expect(source.info(tensor.name) == tensor)
      #expect(try sha256(source.bytes(of: tensor.name)) == digest, "\(tensor.name)")
    }
    for piece in source.pieces {
      #expect(piece.header.alignment == golden.alignment || golden.files.count > 1)
      #expect(piece.header.trailingByteCount == 0 && piece.header.version == 3)
    }
  }

  /// The strongest statement about the writer: the same content gives the same bytes.
  @Test(arguments: GoldenGGUF.all)
  func areWrittenByteByByte(_ golden: GoldenGGUF) throws {
    let plan = try GGUFSplitPlan(
      golden.tensors, metadata: golden.metadata, name: golden.name, limits: golden.limits, alignment: golden.alignment)
    #expect(plan.pieces.map(\.fileName) == golden.files)
    let folder = try TemporaryFolder()
    let writer = try GGUFWriter(creating: plan.pieces, in: folder.url.path)
    for (number, tensor) in golden.tensors.enumerated() {
      let content = golden.content(number)
      #expect(sha256(content) == golden.digests[number])
      try writer.write(tensor.name, at: 0, content.span)
    }
    try writer.finish()
    for file in golden.files {
      #expect(
        try Fixtures.bytes(folder.file(file)) == Fixtures.bytes(GoldenGGUF.folder.appending(path: file)), "\(file)")
    }
  }

  /// GGUF to GGUF: everything that a file holds comes out again, known or not.
  @Test(arguments: GoldenGGUF.all)
  func areCarriedOver(_ golden: GoldenGGUF) throws {
    let source = try GGUFSplitSet(path: golden.path(try #require(golden.files.first)))
    let plan = try GGUFSplitPlan(
      source.tensors, metadata: source.metadata, name: golden.name, limits: golden.limits,
      alignment: source.pieces[0].header.alignment)
    for piece in plan.pieces {
      let header = piece.layout.headerBytes
      let reference = try Fixtures.bytes(GoldenGGUF.folder.appending(path: piece.fileName))
      #expect(piece.layout.fileByteCount == UInt64(reference.count))
      #expect(header == Array(reference.prefix(header.count)))
    }
  }

  @Test func everyPrefixIsRefused() throws {
    for golden in GoldenGGUF.all where ["llama", "align8", "values"].contains(golden.name) {
      let bytes = try Fixtures.bytes(GoldenGGUF.folder.appending(path: golden.files[0]))
      // The data of the file of values is padding alone, which without tensors need not be there.
      let end = golden.tensors.isEmpty ? bytes.count - 32 : bytes.count
      for count in 0..<end {
        #expect(throws: ParseFailure.self, "the first \(count) bytes of \(golden.name)") {
          try GGUFHeader(parsing: Array(bytes[..<count]), fileByteCount: UInt64(count))
        }
      }
    }
  }
}
