internal import ByteIO
internal import SafetensorsFormat
internal import Tensors

/// The files of a Hugging Face directory: which hold weights, and what the index says of them.
extension LintSubject {
  mutating func openSafetensors(_ findings: inout [LintFinding]) {
    let weights = names.filter { $0.hasSuffix(".safetensors") }.sorted()
    let models = weights.filter { $0.hasPrefix("model") }
    if names.contains(LayoutRecognition.indexName) { readIndex(&findings) }
    if let index {
      for name in index.fileNames { open(name, &findings) }
      checkDuplicates(&findings)
      checkIndex(index, &findings)
    } else if models.contains(LayoutRecognition.singleFileName) {
      open(LayoutRecognition.singleFileName, &findings)
    } else {
      let found = models.isEmpty ? weights : models
      for name in found { open(name, &findings) }
      checkDuplicates(&findings)
      if !found.isEmpty, !names.contains(LayoutRecognition.indexName) {
        findings.append(
          LintFinding(
            .missingIndex,
            "\(found.count) safetensors file(s) such as \(found[0]), but no \(LayoutRecognition.indexName)",
            file: LayoutRecognition.indexName, found: found[0], expected: LayoutRecognition.indexName))
      } else if found.isEmpty {
        lacksFiles = true
        findings.append(
          LintFinding(
            .missingFile, "there is no \(LayoutRecognition.singleFileName)", file: LayoutRecognition.singleFileName))
      }
    }
    let read = Set(files.map(\.name))
    for name in models where !read.contains(name) && index?.fileNames.contains(name) != true && !files.isEmpty {
      findings.append(
        LintFinding(.strayWeights, "\(name) is a file of weights that the index does not name", file: name))
    }
  }

  private mutating func readIndex(_ findings: inout [LintFinding]) {
    let path = directory + "/" + LayoutRecognition.indexName
    do {
      index = try SafetensorsIndex(reading: path)
    } catch {
      findings.append(LintFinding(.unreadableFile, any: error, file: path))
    }
  }

  private func checkDuplicates(_ findings: inout [LintFinding]) {
    var holder: [UTF8Key: String] = [:]
    for (file, info) in tensors {
      guard let other = holder.updateValue(file.name, forKey: UTF8Key(info.name)) else { continue }
      findings.append(
        LintFinding(
          .duplicatedTensor, "\(info.name) is in two shards, \(other) and \(file.name)", file: file.name,
          tensor: info.name, found: file.name, expected: other))
    }
  }

  private func checkIndex(_ index: SafetensorsIndex, _ findings: inout [LintFinding]) {
    let name = LayoutRecognition.indexName
    for remark in index.remarks { findings.append(LintFinding(.indexMetadata, "\(name): \(remark)", file: name)) }
    checkShardNames(index, &findings)
    // Of shards that are not there nothing more can be said.
    if lacksFiles { return }
    var holders: [UTF8Key: String] = [:]
    for (file, info) in tensors { holders[UTF8Key(info.name)] = file.name }
    for location in index.locations {
      let holder = holders[UTF8Key(location.tensor)]
      if let holder, holder.utf8.elementsEqual(location.fileName.utf8) { continue }
      // One that is in two shards is told as that.
      if files.contains(where: { $0.name == location.fileName && $0.source.info(location.tensor) != nil }) { continue }
      findings.append(
        LintFinding(
          .indexWrongShard,
          "the index says that \(location.tensor) is in \(location.fileName), "
            + (holder.map { "it is in \($0)" } ?? "it is in no shard"), file: name, tensor: location.tensor,
          found: holder, expected: location.fileName))
    }
    var size: UInt64 = 0
    for (file, info) in tensors {
      guard index.fileName(of: info.name) == nil else {
        size &+= UInt64(info.byteCount)
        continue
      }
      findings.append(
        LintFinding(
          .unindexedTensor, "\(info.name) is in \(file.name), but not in the index", file: file.name,
          tensor: info.name))
    }
    if let stated = index.totalSize, stated != size, !findings.contains(where: { $0.code == .duplicatedTensor }) {
      findings.append(
        LintFinding(
          .indexTotal, "the index states a total_size of \(stated) bytes, its tensors take \(size)", file: name,
          found: "\(size)", expected: "\(stated)"))
    }
  }

  /// `model-00002-of-00004.safetensors` tells how many there should be.
  private func checkShardNames(_ index: SafetensorsIndex, _ findings: inout [LintFinding]) {
    var numbers: Set<Int> = []
    var counts: Set<Int> = []
    for name in index.fileNames {
      let parts = name.dropLast(".safetensors".count).split(separator: "-")
      guard parts.count >= 4, parts[parts.count - 2] == "of", let count = Int(parts[parts.count - 1]),
        let number = Int(parts[parts.count - 3])
      else { return }
      numbers.insert(number)
      counts.insert(count)
    }
    let expected = counts.max() ?? 0
    guard counts.count > 1 || numbers.count != expected else { return }
    findings.append(
      LintFinding(
        .shardCount, "the index names \(numbers.count) shards, whose names say that there are \(expected)",
        file: LayoutRecognition.indexName, found: "\(numbers.count)", expected: "\(expected)"))
  }
}

/// What lies in the directory and should not.
enum LintStrayFiles {
  /// Endings that download tools give to what is not complete.
  private static let endings = [".incomplete", ".part", ".partial", ".tmp", ".crdownload", ".aria2", ".lock"]

  static func check(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard subject.directory == subject.path else { return }
    for name in subject.names.sorted() {
      if endings.contains(where: { name.lowercased().hasSuffix($0) }) {
        findings.append(LintFinding(.strayFile, "\(name) is what an interrupted download leaves behind", file: name))
      } else if isDangling(subject.directory + "/" + name) {
        findings.append(LintFinding(.strayFile, "\(name) is a link to something that is not there", file: name))
      }
    }
  }

  /// A link whose target is not there. What may not be looked up is something.
  private static func isDangling(_ path: String) -> Bool {
    do { return try FileSystem.kind(of: path) == nil } catch { return false }
  }
}
