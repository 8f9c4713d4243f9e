internal import ByteIO
internal import GGUFFormat
internal import Kernels
public import Llama
internal import Quantization
internal import Tensors

/// An importance matrix: how much each column of a matrix matters, the mean square of what it is multiplied by. llama.cpp's
/// files of both forms are read, the current one is written: a GGUF of type `imatrix`.
///
/// Source: `formats/gguf.md`.
public struct ImportanceMatrix: Sendable, Equatable {
  /// Sums over tokens for one matrix.
  public struct Entry: Sendable, Equatable {
    /// Σ x² for each column.
    public let squares: [Float]
    /// What they are divided by.
    public let count: Float

    public init(squares: [Float], count: Float) {
      self.squares = squares
      self.count = count
    }
  }

  /// Under the names of GGUF tensors.
  public private(set) var entries: [String: Entry]
  /// Names of the texts.
  public let datasets: [String]
  public let chunkCount: Int
  /// Tokens of a chunk.
  public let chunkSize: Int

  public init(_ sums: [TensorRole: [Double]], tokens: Int, dataset: String, chunkCount: Int, chunkSize: Int) {
    var entries: [String: Entry] = [:]
    for (role, squares) in sums {
      entries[NamingDialect.gguf.name(for: role)] = Entry(squares: squares.map { Float($0) }, count: Float(tokens))
    }
    self.entries = entries
    datasets = [dataset]
    self.chunkCount = chunkCount
    self.chunkSize = chunkSize
  }

  /// The weight of each column of a tensor; nil where the matrix has nothing about it, or counted nothing.
  public func weights(of tensor: String) -> [Float]? {
    guard let entry = entries[tensor], entry.count > 0, entry.squares.contains(where: { $0 > 0 }) else { return nil }
    return entry.squares.map { $0 / entry.count }
  }

  // MARK: Reading

  private static let squaresSuffix = ".in_sum2"
  private static let countsSuffix = ".counts"
  private static let columnLimit = 1 << 21

  /// - Throws: `FileFailure`; `ParseFailure` for a file of neither form, for sums that are negative or no numbers, and for
  ///   models with experts.
  public init(path: String) throws {
    let start = try ReadableFile(path: path).bytes(at: 0, upTo: 4)
    self = try start == Array("GGUF".utf8) ? Self.current(path) : Self.old(path)
    for (name, entry) in entries {
      guard entry.count >= 0, entry.count.isFinite, entry.squares.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
        throw ParseFailure("a sum of squares is negative or no number", file: path, item: name)
      }
    }
  }

  private init(_ entries: [String: Entry], _ datasets: [String], _ chunkCount: Int, _ chunkSize: Int) {
    (self.entries, self.datasets, self.chunkCount, self.chunkSize) = (entries, datasets, chunkCount, chunkSize)
  }

  private static func current(_ path: String) throws -> ImportanceMatrix {
    let file = try GGUFFile(path: path)
    guard try file.metadata.string("general.type") == "imatrix" else {
      throw ParseFailure(
        "this GGUF is no importance matrix: its general.type is not imatrix", file: path, item: "general.type")
    }
    var entries: [String: Entry] = [:]
    for tensor in file.tensors where tensor.name.hasSuffix(squaresSuffix) {
      let name = String(tensor.name.dropLast(squaresSuffix.count))
      let counts = try floats(file, name + countsSuffix)
      guard counts.count == 1 else {
        throw ParseFailure("there are sums for \(counts.count) experts; dense models have one", file: path, item: name)
      }
      entries[name] = Entry(squares: try floats(file, tensor.name), count: counts[0])
    }
    let names = try file.metadata.strings("imatrix.datasets").map { list in
      (0..<list.count).map { String(decoding: list.string(at: $0).bytes, as: UTF8.self) }
    }
    return ImportanceMatrix(
      entries, names ?? [], Int(try file.metadata.scalar("imatrix.chunk_count", as: UInt32.self) ?? 0),
      Int(try file.metadata.scalar("imatrix.chunk_size", as: UInt32.self) ?? 0))
  }

  private static func floats(_ file: GGUFFile, _ name: String) throws -> [Float] {
    guard let info = file.info(name) else {
      throw ParseFailure("the tensor is missing", file: file.path, item: name)
    }
    guard info.elementType == .f32, info.byteCount <= 4 * columnLimit else {
      throw ParseFailure(
        "the tensor is \(info.elementType) \(info.shape), expected sums in F32", file: file.path, item: name)
    }
    return values(try file.bytes(of: name))
  }

  private static func values(_ bytes: [UInt8]) -> [Float] {
    NumberFormat.widened(bytes.span.rawBytes, from: .f32)
  }

  /// Before 2025: a count of entries; each a name, a number of calls and values, mean squares times calls.
  private static func old(_ path: String) throws -> ImportanceMatrix {
    let contents = try ReadableFile.contents(of: path, limit: 1 << 28)
    do throws(ParseFailure) {
      var cursor = ByteCursor(contents.span.rawBytes)
      let count = try cursor.read(Int32.self)
      guard (1...1 << 16).contains(count) else {
        throw ParseFailure("this is no importance matrix: it begins with neither GGUF nor a count of entries")
      }
      var entries: [String: Entry] = [:]
      for _ in 0..<count {
        let nameSize = try length(&cursor, limit: 4096)
        let name = String(decoding: contents[try skip(nameSize, &cursor)], as: UTF8.self)
        let calls = try cursor.read(Int32.self)
        let size = try length(&cursor, limit: columnLimit)
        let squares = values(Array(contents[try skip(4 * size, &cursor)]))
        entries[name] = Entry(squares: squares, count: Float(max(calls, 0)))
      }
      return ImportanceMatrix(entries, [], 0, 0)
    } catch {
      throw error.in(file: path)
    }
  }

  private static func length(_ cursor: inout ByteCursor, limit: Int) throws(ParseFailure) -> Int {
    let offset = cursor.offset
    let value = try cursor.read(Int32.self)
    guard (1...limit).contains(Int(value)) else {
      throw ParseFailure("a length is \(value), expected 1 to \(limit)", offset: UInt64(offset))
    }
    return Int(value)
  }

  private static func skip(_ count: Int, _ cursor: inout ByteCursor) throws(ParseFailure) -> Range<Int> {
    let start = cursor.offset
    _ = try cursor.slice(UInt64(count))
    return start..<start + count
  }

  // MARK: Writing

  /// Writes a new file in llama.cpp's current form.
  /// - Throws: `FileFailure`; nothing is left under the name then.
  public func write(to path: String) throws {
    let staging = try StagedDirectory(creatingFor: path)
    do {
      var metadata = GGUFMetadata()
      metadata.set("general.type", to: GGUFValue("imatrix"))
      metadata.set("imatrix.datasets", to: .array(GGUFArray(datasets)))
      metadata.set("imatrix.chunk_count", to: .uint32(UInt32(clamping: chunkCount)))
      metadata.set("imatrix.chunk_size", to: .uint32(UInt32(clamping: chunkSize)))
      let names = entries.keys.sorted()
      let tensors = try names.flatMap { name in
        [
          try TensorInfo(
            name: name + Self.squaresSuffix, elementType: .f32, shape: [entries[name]?.squares.count ?? 0]),
          try TensorInfo(name: name + Self.countsSuffix, elementType: .f32, shape: [1]),
        ]
      }
      let plan = try GGUFSplitPlan(tensors, metadata: metadata, name: "imatrix")
      let writer = try GGUFWriter(creating: plan.pieces, in: staging.path)
      for name in names {
        guard let entry = entries[name] else { continue }
        for (suffix, values) in [(Self.squaresSuffix, entry.squares), (Self.countsSuffix, [entry.count])] {
          try writer.write(name + suffix, at: 0, NumberFormat.bytes(of: values).span)
        }
      }
      try writer.finish()
      try staging.publish(files: [(plan.pieces[0].fileName, path)], replacing: false)
    } catch {
      try? staging.discard()
      throw error
    }
  }
}

/// An importance matrix with the name of its file and the sum of its bytes.
public struct NamedImportanceMatrix: Sendable, Equatable {
  /// Without directories.
  public let name: String
  public let sha256: String
  /// As given.
  public let path: String
  public let matrix: ImportanceMatrix

  /// - Throws: what `ImportanceMatrix.init(path:)` throws.
  public init(path: String) throws {
    self.path = path
    matrix = try ImportanceMatrix(path: path)
    name = FileSystem.lastComponent(of: path)
    sha256 = try SHA256Sum.hexadecimal(ofFile: path)
  }
}
