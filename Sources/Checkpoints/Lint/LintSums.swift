internal import ByteIO

/// The sums that came with the files, taken again.
enum LintSums {
  /// - Parameter reads: also take the sums; else only look whether all listed files are there.
  static func check(_ subject: LintSubject, reads: Bool, threads: Int, _ findings: inout [LintFinding]) throws {
    let isFile = subject.directory != subject.path
    // A file that is one of a set stands for all of them.
    let names = try (isFile ? subject.names.union(subject.files.map(\.name)) : subject.names).sorted().filter {
      try FileSystem.kind(of: subject.directory + "/" + $0) == .file
    }
    let expected = try ExpectedSums(in: subject.directory, names: names, isSingleFile: isFile)
    findings += expected.failures.map { LintFinding(.unreadableChecksums, $0) }
    for (name, list) in expected.missing {
      findings.append(
        LintFinding(
          .missingListedFile, "\(name) is listed in \(list), but missing", file: name, expected: "the file of \(list)"))
    }
    guard reads else { return }
    let sums = expected.sums.map { FileSum($0.kind, ofFile: subject.directory + "/" + $0.fileName) }
    let found = try FileSum.compute(sums, threads: threads)
    for (sum, digits) in zip(expected.sums, found) where digits != sum.digits {
      findings.append(
        LintFinding(
          .wrongChecksum, "\(sum.fileName): the \(sum.kind.rawValue) is \(digits), \(sum.source) says \(sum.digits)",
          file: sum.fileName, found: digits, expected: sum.digits))
    }
  }
}
