public import ByteIO
public import Tensors

/// Writes planned GGUF files into a directory, tensor parts in any order and from any number of threads.
public final class GGUFWriter: TensorSink {
  private struct Place: Sendable {
    let file: Int
    let offset: UInt64
    let byteCount: Int
  }

  public let directory: String
  private let files: [WritableFile]
  private let places: [UTF8Key: Place]

  /// Creates the files with their final sizes, reserved on the disk, and writes their headers. Padding needs no writing:
  /// what is never written of a reserved file reads as zero.
  /// - Parameter directory: an existing directory in which none of the files exists; usually a staging directory.
  /// - Throws: `FileFailure`; files that were created before the failure are removed again.
  public convenience init(creating pieces: [GGUFSplitPlan.Piece], in directory: String) throws(FileFailure) {
    var files: [WritableFile] = []
    do throws(FileFailure) {
      for piece in pieces {
        let path = directory + "/" + piece.fileName
        let file = try WritableFile(creating: path, byteCount: piece.layout.fileByteCount)
        files.append(file)
        try file.write(piece.layout.headerBytes.span, at: 0)
      }
    } catch {
      for file in files { try? FileSystem.remove(file.path) }
      throw error
    }
    self.init(files, pieces, directory)
  }

  /// Opens the files for one of several writers of the same plan, at the same time or one after the other, and creates those
  /// that are not there. Tensors that were written stay.
  /// - Parameter writesHeaders: for one of them.
  /// - Throws: `FileFailure`.
  public convenience init(
    sharing pieces: [GGUFSplitPlan.Piece], in directory: String, writesHeaders: Bool
  ) throws(FileFailure) {
    var files: [WritableFile] = []
    for piece in pieces {
      let file = try WritableFile(
        sharing: directory + "/" + piece.fileName, byteCount: piece.layout.fileByteCount)
      files.append(file)
      if writesHeaders { try file.write(piece.layout.headerBytes.span, at: 0) }
    }
    self.init(files, pieces, directory)
  }

  private init(_ files: [WritableFile], _ pieces: [GGUFSplitPlan.Piece], _ directory: String) {
    var places: [UTF8Key: Place] = [:]
    for (number, piece) in pieces.enumerated() {
      for entry in piece.layout.entries {
        let offset = piece.layout.dataOffset + entry.dataRange.lowerBound
        let place = Place(file: number, offset: offset, byteCount: entry.info.byteCount)
        precondition(places.updateValue(place, forKey: UTF8Key(entry.info.name)) == nil, "a plan names a tensor once")
      }
    }
    self.files = files
    self.places = places
    self.directory = directory
  }

  /// Writes `bytes` at byte `offset` of a tensor. Traps when the plan has no such tensor or the range is not inside it.
  public func write(_ tensor: String, at offset: Int, _ bytes: Span<UInt8>) throws(FileFailure) {
    guard let place = places[UTF8Key(tensor)] else { preconditionFailure("the plan has no tensor \(tensor)") }
    precondition(
      offset >= 0 && offset <= place.byteCount && bytes.count <= place.byteCount - offset, "the range is in the tensor")
    try files[place.file].write(bytes, at: place.offset + UInt64(offset))
  }

  /// Writes the header of a piece once more, with other values of the same sizes.
  /// - Throws: `FileFailure`.
  public func writeHeader(of piece: GGUFSplitPlan.Piece) throws(FileFailure) {
    guard let file = files.first(where: { FileSystem.lastComponent(of: $0.path) == piece.fileName }) else {
      preconditionFailure("the plan has no file \(piece.fileName)")
    }
    let first = piece.layout.entries.first.flatMap { places[UTF8Key($0.info.name)]?.offset }
    precondition(first ?? piece.layout.dataOffset == piece.layout.dataOffset, "the header keeps its size")
    try file.write(piece.layout.headerBytes.span, at: 0)
  }

  /// Waits until all that was written is on the disk.
  /// - Throws: `FileFailure`.
  public func finish() throws(FileFailure) {
    for file in files { try file.synchronize() }
  }
}
