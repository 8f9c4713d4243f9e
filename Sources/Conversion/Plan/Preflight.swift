internal import ByteIO
internal import Checkpoints
internal import Tensors

extension ConversionPlan {
  /// Free space that must remain beyond the output's own size: directory entries, the record, the checksums.
  static let spareBytes: UInt64 = 16 << 20

  /// Refuses what cannot finish, before anything is written.
  /// - Throws: `ConversionFailure` for an existing or overlapping output, too little disk or memory; `FileFailure` when
  ///   the place is missing or not writable; `ParseFailure` for an input whose own lists name files that are missing.
  public func preflight() throws {
    if options.checksSums { _ = try input.expectedSums() }
    try checkOutputPlace()
    try checkMemory()
    let parent = FileSystem.parent(of: outputPath)
    let free = try FileSystem.freeSpace(at: parent)
    // What a killed run left staged is removed before the new one begins: its space counts as free.
    let leftover = Self.byteCount(inDirectory: StagedDirectory.stagingPath(for: outputPath))
    let needed = outputByteCount + calibrationByteCount
    guard free + leftover >= needed + Self.spareBytes else {
      throw ConversionFailure(
        .noSpace,
        "\(parent): the output needs \(ByteSize(needed)) and \(ByteSize(Self.spareBytes)) to spare, \(ByteSize(free)) are free; make room or choose another disk"
      )
    }
  }

  /// Of what calibration keeps beside the output until that is published: codes one in a byte, and scales.
  private var calibrationByteCount: UInt64 {
    steps.reduce(0) { sum, step in
      guard case .calibrate = step.operation else { return sum }
      return sum + UInt64(step.outputByteCount)
    }
  }

  private func checkOutputPlace() throws {
    let parent = FileSystem.parent(of: outputPath)
    let name = FileSystem.lastComponent(of: outputPath)
    guard !["", ".", "..", "/"].contains(name), name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
    else {
      throw ConversionFailure(
        .outputPlace, "\(parent): an output there needs a name of its own, without control characters")
    }
    guard try FileSystem.kind(of: parent) == .directory else {
      throw FileFailure(
        path: parent, operation: "create the output", kind: .cannotCreate, detail: "the directory does not exist")
    }
    let inputReal = try FileSystem.canonicalPath(input.path)
    let parentReal = try FileSystem.canonicalPath(parent)
    var outputReal = (parentReal == "/" ? "" : parentReal) + "/" + FileSystem.lastComponent(of: outputPath)
    if let kind = try FileSystem.kind(of: outputPath), kind == .directory {
      outputReal = try FileSystem.canonicalPath(outputPath)
    }
    guard outputReal != inputReal else {
      throw ConversionFailure(.outputPlace, "\(outputPath): the output is the input; choose another place")
    }
    guard !(outputReal + "/").hasPrefix(inputReal + "/") else {
      throw ConversionFailure(.outputPlace, "\(outputPath): the output is inside the input; choose another place")
    }
    guard !(inputReal + "/").hasPrefix(outputReal + "/") else {
      throw ConversionFailure(.outputPlace, "\(outputPath): the input is inside the output; choose another place")
    }
    try checkReplacement(outputReal)
    if FileSystem.nameIsTaken(outputPath) && !options.force {
      throw ConversionFailure(.outputExists, "\(outputPath): the output exists; remove it or use --force to replace it")
    }
    guard FileSystem.mayWrite(parent) else {
      throw FileFailure(
        path: parent, operation: "create the output", kind: .permission, detail: "the directory is not writable")
    }
  }

  /// What the output or its evidence would replace: not an input, not a directory by a file, nothing unasked.
  private func checkReplacement(_ outputReal: String) throws {
    let parent = String(outputReal.dropLast(FileSystem.lastComponent(of: outputReal).count))
    let written = [outputReal] + evidencePaths.map { parent + FileSystem.lastComponent(of: $0) }
    let inputs = input.inputFiles.map { input.directory + "/" + $0 } + (options.importance.map { [$0.path] } ?? [])
    for path in inputs {
      guard let real = try? FileSystem.canonicalPath(path), written.contains(real) else { continue }
      throw ConversionFailure(.outputPlace, "\(path): the output would replace an input; choose another place")
    }
    guard isSingleFile else { return }
    if try FileSystem.kind(of: outputPath) == .directory {
      throw ConversionFailure(.outputExists, "\(outputPath): a directory has this name; remove it or choose another")
    }
    for path in evidencePaths where FileSystem.nameIsTaken(path) && !options.force {
      throw ConversionFailure(.outputExists, "\(path): the output's evidence exists; remove it or use --force")
    }
  }

  private func checkMemory() throws {
    guard peakMemory <= options.maximumMemory else {
      throw ConversionFailure(
        .memory,
        "about \(ByteSize(peakMemory)) of memory are needed with \(options.threads) threads, --max-memory allows \(ByteSize(options.maximumMemory)); use fewer threads or raise it"
      )
    }
  }

  private static func byteCount(inDirectory path: String) -> UInt64 {
    let names = (try? FileSystem.names(in: path)) ?? []
    return names.reduce(0) { $0 + ((try? ReadableFile(path: path + "/" + $1).byteCount) ?? 0) }
  }
}
