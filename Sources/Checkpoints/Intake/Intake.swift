public import ByteIO
internal import SafetensorsFormat
internal import Tensors

/// What comes in is checked against all that is said of it: sums of files, the index's total, and that files stay what
/// they were when they were opened.
extension Checkpoint {
  /// Names of the files that a conversion reads.
  public var readFileNames: [String] { Self.readFileNames(inputFiles, sidecars) }

  static func readFileNames(_ inputFiles: [String], _ sidecars: [SidecarFile]) -> [String] {
    inputFiles + sidecars.filter(\.isOutside).map(\.name)
  }

  /// The sums that came with the files.
  /// - Throws: `ParseFailure` for a listed file that is missing, a list that cannot be read, and an index whose total is
  ///   not that of its tensors; `FileFailure`.
  public func expectedSums() throws -> [ExpectedSum] {
    let expected = try ExpectedSums(
      in: directory, names: readFileNames, isSingleFile: try FileSystem.kind(of: path) == .file)
    if let failure = expected.failures.first { throw failure }
    if let (name, list) = expected.missing.first {
      throw ParseFailure(
        "\(list) lists the file, but it is missing", file: directory + "/" + name,
        advice: "the download may be incomplete; --no-check-sums goes on without")
    }
    try checkIndexTotal()
    return expected.sums
  }

  /// - Parameter found: the sum that the file has.
  /// - Throws: `ParseFailure` when it is not the expected one.
  public func check(_ expected: ExpectedSum, found: String) throws(ParseFailure) {
    guard found != expected.digits else { return }
    throw ParseFailure(
      "the \(expected.kind.rawValue) is \(found), \(expected.source) says \(expected.digits)",
      file: directory + "/" + expected.fileName,
      advice: "the file is damaged, or it is another one: fetch it again")
  }

  private func checkIndexTotal() throws {
    let name = LayoutRecognition.indexName
    guard layout == .huggingFace, inputFiles.contains(name) else { return }
    let index = try SafetensorsIndex(reading: directory + "/" + name)
    guard let stated = index.totalSize else { return }
    var size: UInt64 = 0
    for shard in index.fileNames {
      for tensor in try SafetensorsFile(path: directory + "/" + shard).tensors
      where index.fileName(of: tensor.name) != nil {
        size &+= UInt64(tensor.byteCount)
      }
    }
    guard size != stated else { return }
    throw ParseFailure(
      "the index states a total_size of \(stated) bytes, its tensors take \(size)", file: directory + "/" + name,
      advice: "index and shards may be of different downloads; --no-check-sums goes on without")
  }

  // MARK: Changes

  static func facts(of names: [String], in directory: String) -> [String: FileFacts] {
    var facts: [String: FileFacts] = [:]
    for name in names { facts[name] = try? FileFacts(path: directory + "/" + name) }
    return facts
  }

  /// That no file has changed since it was opened: size, time of change, device and inode are the same.
  /// - Throws: `ParseFailure` naming the file and how it changed.
  public func checkUnchanged() throws(ParseFailure) {
    for name in readFileNames {
      guard let before = fileFacts[name] else { continue }
      let path = directory + "/" + name
      let change: String?
      do throws(FileFailure) {
        change = before.change(to: try FileFacts(path: path))
      } catch {
        change = error.detail
      }
      guard let change else { continue }
      throw ParseFailure(
        "the file was changed while it was read: \(change)", file: path,
        advice: "run again once nobody writes to it")
    }
  }

  /// What to tell when work on the files has failed: that they were changed, where that is so, since the failure comes from it.
  public func cause(of error: any Error) -> any Error {
    if error is Interrupted { return error }
    do throws(ParseFailure) { try checkUnchanged() } catch { return error }
    return error
  }
}

extension FileFacts {
  /// How `other`, a later look at the same path, differs, in words; nil when it does not.
  fileprivate func change(to other: FileFacts) -> String? {
    if byteCount != other.byteCount { return "it had \(byteCount) bytes and has \(other.byteCount)" }
    if (device, inode) != (other.device, other.inode) { return "another file has its name now" }
    return modified == other.modified ? nil : "its content was written to"
  }
}
